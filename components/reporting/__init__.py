"""Pages, tables and pictures for people, made from what the other rooms found out. Imports no torch."""

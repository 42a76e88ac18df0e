"""`graft init`: from a path to somebody's images to the parameters of a run on them."""

"""From a policy's declared fields, through one run of a handler on one view, to its rows and its printed table."""

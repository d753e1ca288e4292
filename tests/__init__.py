"""The tests: the folders and stems of `src/chainrule`; promises that span modules."""

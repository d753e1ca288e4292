"""``python -m chainrule``: the paper's two figures and a third."""

"""Long tests of what must never be lost; `nox -s soak` runs them whole."""

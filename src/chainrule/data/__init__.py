"""From the user to the backend: samples, their order, their weights."""

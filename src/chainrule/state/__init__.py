"""Values that travel: what training carries, what an epoch leaves, what files hold."""

"""What is configured: records, checks of arguments, and words for what is wrong."""

"""The production server: a parent process, and the workers it keeps running."""

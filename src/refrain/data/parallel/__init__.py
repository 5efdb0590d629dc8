"""Reading a text by several processes."""

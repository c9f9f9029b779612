"""What an exported captioner is made of, and how it is checked."""

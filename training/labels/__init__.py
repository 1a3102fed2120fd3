"""Labels out to annotation tools, and back into the folders that training reads."""

"""What a run keeps in the lake: keys, schemas, panels, library, published results."""

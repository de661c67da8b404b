"""Further systems as blocks: storage, and the APIs of other platforms."""

"""Reading and writing media through PyAV."""

"""Product data: a catalogue folder becomes a snapshot (Parquet shards), validated, versioned and read as a stream."""

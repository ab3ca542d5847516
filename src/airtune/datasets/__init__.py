"""What a model learns from: readers, records, validation, split and fingerprint."""

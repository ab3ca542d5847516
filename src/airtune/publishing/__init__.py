"""What is kept: the bundle, its manifest, upload, verification and promotion."""

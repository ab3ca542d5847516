"""What ``benchmarks/memory_estimate.py`` runs in processes of their own."""

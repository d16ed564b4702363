"""Training data: photographs and videos become pairs of small and large planes."""

"""What is around every publish and every handling."""

"""What a network computes in: bfloat16 where that was proven on this computer, float32 elsewhere."""

"""A generator of volumes: an autoencoder, and a diffusion model of its latents (3D MedDiffusion, Wang et al. 2025)."""

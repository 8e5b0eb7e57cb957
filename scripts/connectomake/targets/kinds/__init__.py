"""What each target says of itself: its settings and channels. Nothing in here computes, so that config may load it."""

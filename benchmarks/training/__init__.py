"""How fast training is beside LightGBM alone, and whether it keeps within a memory a tenth of its log."""

"""Supervised fine-tuning: our rows and masks, TRL's trainer, checkpoints that are proven whole."""

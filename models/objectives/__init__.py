"""Pretraining objectives as pure functions of tensors."""

"""Experiments that shaped the network. The product never imports them."""

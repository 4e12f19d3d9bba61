"""Boundary: the only importer of the kubernetes client and the only caller of helm."""

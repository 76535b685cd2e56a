"""BMP: Block-Max Pruning reads CIFF, and holds a weight in one byte."""

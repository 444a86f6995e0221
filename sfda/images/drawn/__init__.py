"""Images that the package draws itself: shapes, letters, textures and fractals."""

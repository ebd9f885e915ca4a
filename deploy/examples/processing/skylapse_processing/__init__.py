"""A processing service for Skylapse Realtime: makes films from the pictures of a camera."""

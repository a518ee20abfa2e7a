"""Devices: meshes, processes, compiled programs, and what is in their memory."""

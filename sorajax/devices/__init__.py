"""Devices: meshes, processes, compiled programs, and memory."""

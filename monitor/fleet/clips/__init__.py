"""Clips from afar: what an operator asked a vehicle for, fetched piece by piece.

clip_requests ──▶ fetcher ──cmd/clip──▶ vehicle ──clip──▶ fetcher ──▶ the folder of clips
"""

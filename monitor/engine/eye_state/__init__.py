"""Are the eyes open, closed, lowered or not seen? What every witness of a frame says, weighed."""

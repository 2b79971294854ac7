"""What rules read beside the evidence: attention to the road, nods, fatigue."""

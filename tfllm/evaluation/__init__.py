"""How good a model is: metrics, reports and pictures, of anything that predicts."""

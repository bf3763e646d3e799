"""`detdiffusion.visualization`: objects drawn on images, sheets of images, curves and reports."""

"""Pictures of volumes, training and results, for the report and for whoever looks at one result by itself.

Every function gives a figure and draws nothing on the screen; `draw.figure.save_figure` writes it. The same input
gives the same file, byte by byte.
"""

"""What the data set says: its labels, the label table, and its images as one array of pixels."""

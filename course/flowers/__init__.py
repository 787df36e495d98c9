"""Paint images of flowers for a dataset without third-party rights: python -m course.flowers DIR"""

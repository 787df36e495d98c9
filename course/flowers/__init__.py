"""Pictures of flowers that no camera took: a data set of the project's own. python -m course.flowers DIR"""

"""The perceptron of tests/training/toy.py as an experiment: a step takes a millisecond."""

from tests.training.toy import ToyTraining

config = ToyTraining()

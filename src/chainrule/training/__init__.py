"""How a network learns: objective, step, epoch, fit."""

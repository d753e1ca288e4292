"""Words of other libraries: what they are called here, or what to write for them.

Tables alone; `chainrule.config.hints` reads them where something is not understood.
"""

from __future__ import annotations

__all__ = ["ADVICE", "ALIASES", "ATTRIBUTES", "KEYWORDS", "METHODS"]


# Kind of name -> alias -> chainrule's name of the same function.
ALIASES: dict[str, dict[str, str]] = {
    "loss": {
        "mse": "squared_error",
        "mean_squared_error": "squared_error",
        "l2": "squared_error",
        "mae": "absolute_error",
        "mean_absolute_error": "absolute_error",
        "l1": "absolute_error",
        "huber_loss": "huber",
        "pinball": "quantile",
        "pinball_loss": "quantile",
        "cosine": "cosine_distance",
        "hinge_loss": "hinge",
        "kl_div": "kullback_leibler",
        "kl_divergence": "kullback_leibler",
    },
    "metric": {
        "acc": "accuracy",
        "mae": "mean_absolute_error",
        "mse": "mean_squared_error",
        "rmse": "root_mean_squared_error",
        "mape": "mean_absolute_percentage_error",
        "r2_score": "r2",
        "roc_auc": "auc",
        "roc_auc_score": "auc",
        "average_precision_score": "average_precision",
        "balanced_accuracy_score": "balanced_accuracy",
        "brier_score": "brier",
        "brier_score_loss": "brier",
        "ece": "expected_calibration_error",
        "f1_score": "f1",
        "precision_score": "precision",
        "recall_score": "recall",
        "pinball_loss": "pinball",
        "mean_pinball_loss": "pinball",
        "top_k_accuracy": "top_k",
    },
    "activation": {
        "swish": "silu",
        "hard_swish": "hard_silu",
        "logistic": "sigmoid",
        "linear": "identity",
        "exponential": "exp",
    },
    "optimizer": {"l_bfgs_b": "lbfgs", "lm": "levenberg_marquardt"},
}


_LOGITS = (
    "Write {0}, which takes logits: let the network end in Dense, without {1}; "
    "predict_proba gives probabilities"
)


_BINARY = _LOGITS.format("'binary_cross_entropy'", "Sigmoid")


_CLASSES = _LOGITS.format("'cross_entropy'", "Softmax") + ". It takes labels and rows"


# Kind of name -> word -> what to write; "" stands for every kind.
_DEVICE = "A device belongs to a backend: backend='torch', device='cuda'"


_BACKENDS = "Take 'jax', which compiles to the same XLA, or 'torch'"


ADVICE: dict[str, dict[str, str]] = {
    "backend": {
        **dict.fromkeys(("cuda", "gpu", "cpu", "mps"), _DEVICE),
        **dict.fromkeys(("tensorflow", "tf", "keras"), _BACKENDS),
    },
    "loss": {
        "bce": _BINARY,
        "binary_crossentropy": _BINARY,
        "bce_with_logits": _BINARY,
        "log_loss": f"{_BINARY}. More than two classes: 'cross_entropy'",
        "logistic": _BINARY,
        "crossentropy": _CLASSES,
        "categorical_crossentropy": _CLASSES,
        "sparse_categorical_crossentropy": _CLASSES,
        "nll": _CLASSES,
        "nll_loss": _CLASSES,
        "rmse": "Write 'squared_error': its minimum is the same",
        "squared_hinge": "Write chainrule.losses.Hinge(squared=True)",
        "cosine_similarity": "Write 'cosine_distance': 1 less the similarity",
    },
    "metric": {
        "pr_auc": "Write 'average_precision', which draws no line between points",
        "nll": "Write 'log_loss'",
        "binary_accuracy": "Write 'accuracy'",
        "categorical_accuracy": "Write 'accuracy'",
        "sparse_categorical_accuracy": "Write 'accuracy'",
    },
    "activation": {
        "gelu_new": "Write 'gelu_tanh'",
        "gelu_approximate": "Write 'gelu_tanh'",
        "relu6": "Write 'hard_sigmoid' or 'hard_silu' of it, or a layer of your own",
        "prelu": "Write 'leaky_relu'",
    },
    "optimizer": {
        "momentum": "Write chainrule.SGD(1e-2, momentum=0.9)",
        "nesterov": "Write chainrule.SGD(1e-2, momentum=0.9, nesterov=True)",
    },
    "initializer": {
        "xavier_uniform": "Write 'glorot_uniform'",
        "xavier_normal": "Write 'glorot_normal'",
        "kaiming_uniform": "Write 'he_uniform'",
        "kaiming_normal": "Write 'he_normal'",
        "normal": "Write 'glorot_normal', 'he_normal' or 'lecun_normal'",
        "uniform": "Write 'glorot_uniform', 'he_uniform' or 'lecun_uniform'",
    },
}


_OPTIMIZER = "it belongs to the optimizer: Model(..., optimizer=chainrule.Adam(1e-3))"


_WIDTH = "leave it out: the first fit, or build(sample_shape), finds it"


_WEIGHTS = (
    "it belongs to the loss: loss=chainrule.losses.CrossEntropy(class_weight=...), "
    "or BinaryCrossEntropy's"
)


_BEHIND = (
    "put the layer behind it, as in Sequential(Dense(8), Tanh()), or take MLP((8, 1), "
    "activation='tanh')"
)


_FIT = "it belongs to fit"


_MODEL = "it belongs to Model"


_DECAY = "write weight_decay= of the optimizer, which decays weights and never biases"


_EPOCHS = "write epochs="


_WHOLE = "leave it out: an epoch takes every sample once, batch_size at a time"


_VALIDATION = "leave it out: all validation samples are evaluated after each epoch"


_PREDICT = {
    "batch_size": "leave it out: as many rows are taken at once as memory allows",
    "verbose": "leave it out: it shows nothing",
    "training": "leave it out: dropout is for fit alone",
    "return_dict": "leave it out: evaluate returns a dict",
    "steps": "leave it out: all samples are taken",
    "X": "the first argument is called x",
}


# Class or function -> keyword of others -> what to write. A class has its bases' too.
KEYWORDS: dict[str, dict[str, str]] = {
    "fit": {
        "verbose": "write progress=False for verbose=0, progress=True for a bar",
        "class_weight": _WEIGHTS,
        **dict.fromkeys(("lr", "learning_rate", "weight_decay"), _OPTIMIZER),
        **dict.fromkeys(("n_epochs", "num_epochs", "nb_epoch", "max_iter"), _EPOCHS),
        **dict.fromkeys(("drop_last",), _WHOLE),
        **dict.fromkeys(
            ("validation_freq", "validation_steps", "validation_batch_size"),
            _VALIDATION,
        ),
        "initial_epoch": "leave it out: fit goes on from where the model stands",
        "eval_set": "write validation_data=(x, y)",
        "weights": "write sample_weight=",
        "X": "the first argument is called x",
        **dict.fromkeys(
            ("optimizer", "loss", "metrics", "seed", "backend", "device"), _MODEL
        ),
        "random_state": "write seed= of Model",
        "patience": "write callbacks=[chainrule.EarlyStopping(patience=10)]",
        "early_stopping": "write callbacks=[chainrule.EarlyStopping()]",
        **dict.fromkeys(
            ("workers", "use_multiprocessing", "num_workers", "max_queue_size"),
            "leave it out: data are arrays",
        ),
    },
    "predict": _PREDICT,
    "predict_proba": _PREDICT,
    "predict_members": _PREDICT,
    "evaluate": _PREDICT,
    "load": {
        "map_location": "write device=, or backend=",
        "weights_only": "leave it out: nothing of a file is ever executed",
        "compile": "leave it out: loss, optimizer and metrics are in the file",
        "custom_objects": "call chainrule.serialization.register(it, name=) first",
    },
    "build": {
        "input_shape": "write sample_shape=, the shape of one sample without the batch",
    },
    "save": {
        **dict.fromkeys(("filepath", "filename"), "write path="),
        "overwrite": "leave it out: a file that is there is replaced",
        "save_format": "leave it out: it is a safetensors file",
    },
    "to": {"dtype": "make a new Model with dtype=, and set its weights"},
    "Model": {
        **dict.fromkeys(("lr", "learning_rate", "weight_decay"), _OPTIMIZER),
        **dict.fromkeys(
            ("epochs", "batch_size", "callbacks", "shuffle", "sample_weight"), _FIT
        ),
        "verbose": "write progress= of fit",
        "class_weight": _WEIGHTS,
        "layers": "write chainrule.Sequential(...) as the network",
        "units": "write chainrule.MLP(units) as the network",
        "activation": "it belongs to MLP((8, 1), activation='tanh')",
        "criterion": "write loss=",
        "random_state": "write seed=",
        "n_members": "write members=",
        **dict.fromkeys(
            ("inputs", "outputs"),
            "a network is one chain, chainrule.Sequential(...), from x to its output",
        ),
    },
    "Layer": {
        **dict.fromkeys(
            ("input_shape", "input_dim", "in_features", "batch_input_shape"), _WIDTH
        ),
        "name": "leave it out: a parameter is called by its layer's number",
        "dtype": "it belongs to Model",
        "device": "it belongs to Model",
        "inplace": "leave it out",
    },
    "Dense": {
        "activation": _BEHIND,
        "out_features": "write units=",
        "use_bias": "write bias=",
        **dict.fromkeys(("kernel_regularizer", "bias_regularizer"), _DECAY),
    },
    "Dropout": {"p": "write rate="},
    "BatchNorm": {"eps": "write epsilon="},
    "LayerNorm": {"eps": "write epsilon="},
    "LeakyReLU": dict.fromkeys(("negative_slope", "alpha"), "write slope="),
    "MLP": {
        **dict.fromkeys(("input_shape", "input_dim", "in_features"), _WIDTH),
        **dict.fromkeys(
            ("hidden_layer_sizes", "hidden_sizes", "layers"),
            "write units=, the output's width last: MLP((32, 32, 1))",
        ),
        "dropout": "write Sequential(Dense(32), ReLU(), Dropout(0.1), Dense(1))",
    },
    "Optimizer": {
        "lr": "write learning_rate=",
        "betas": "write beta_1= and beta_2=",
        "beta1": "write beta_1=",
        "beta2": "write beta_2=",
        "b1": "write beta_1=",
        "b2": "write beta_2=",
        "eps": "write epsilon=",
        "decay": "write a schedule as learning_rate; see chainrule.schedules",
        "global_clipnorm": "write clip_norm=",
        "clipnorm": "write clip_norm=, of the gradient of all parameters together",
        "clipvalue": "write clip_value=",
        "params": "leave it out: Model hands the parameters in",
        "amsgrad": "leave it out: there is none",
    },
    "RMSprop": {"alpha": "write rho=", "momentum": "leave it out: there is none"},
    "Loss": {
        **dict.fromkeys(("reduction", "size_average"), "leave it out: it is a mean"),
        "from_logits": "leave it out: cross entropies take logits",
        "weight": "write class_weight=",
        "pos_weight": "write class_weight=(1, w)",
    },
    "MultilayerPerceptron": {
        "lr": "write learning_rate_init=",
        **dict.fromkeys(("epochs", "n_epochs", "num_epochs"), "write max_iter="),
        **dict.fromkeys(("hidden_sizes", "units"), "write hidden_layer_sizes="),
        "seed": "write random_state=",
        "weight_decay": "write alpha=",
        "patience": "write n_iter_no_change=",
    },
    "Callback": {"verbose": "leave it out; fit(progress=True) shows a bar"},
    "Checkpoint": {
        "filepath": "write path=",
        "save_best_only": "write best=",
        "save_weights_only": "leave it out; Model.save writes weights alone",
        "save_freq": "write every= epochs, or every_steps=",
        "period": "write every=",
    },
    "Quantile": {
        **dict.fromkeys(("quantile", "tau", "alpha"), "write q="),
    },
}


# Layers, losses, optimizers and functions of others -> chainrule's.
_LOSSES = "chainrule.losses"


_NONE = "leave it out: chainrule has networks that feed forward, of vectors"


ATTRIBUTES: dict[str, str] = {
    "Linear": "chainrule.Dense(units)",
    **dict.fromkeys(
        ("BatchNorm1d", "BatchNorm1D", "BatchNormalization"), "chainrule.BatchNorm()"
    ),
    "LayerNormalization": "chainrule.LayerNorm()",
    **dict.fromkeys(("Swish", "swish"), "chainrule.SiLU()"),
    **dict.fromkeys(("HardSwish", "Hardswish"), "chainrule.HardSiLU()"),
    "Activation": "the layer itself: chainrule.Tanh()",
    **dict.fromkeys(
        ("Input", "InputLayer"),
        "nothing: the first fit, or build(sample_shape), finds the shape",
    ),
    "Module": "chainrule.Layer",
    **dict.fromkeys(
        ("nn", "optim", "keras"), "chainrule's own names: chainrule.Dense and so on"
    ),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), "chainrule.sklearn"),
    **dict.fromkeys(
        (
            "CSVLogger",
            "LambdaCallback",
            "ReduceLROnPlateau",
            "Callback",
            "ExponentialMovingAverage",
            "StochasticWeightAveraging",
        ),
        "chainrule.callbacks",
    ),
    **dict.fromkeys(("ModelCheckpoint",), "chainrule.Checkpoint(path)"),
    "AveragedModel": (
        "chainrule.callbacks.StochasticWeightAveraging or ExponentialMovingAverage"
    ),
    "LearningRateScheduler": (
        "a schedule: chainrule.Adam(chainrule.schedules.CosineDecay(1e-2, 1000))"
    ),
    **dict.fromkeys(
        ("CosineAnnealingLR",),
        "chainrule.schedules.CosineDecay(rate, decay_steps)",
    ),
    **dict.fromkeys(
        ("CosineDecayRestarts", "CosineAnnealingWarmRestarts"),
        "chainrule.schedules.CosineRestarts(rate, first_steps)",
    ),
    "OneCycleLR": "chainrule.schedules.OneCycle(max_learning_rate, steps)",
    "LinearLR": "chainrule.schedules.LinearWarmup(rate, steps)",
    "PolynomialLR": "chainrule.schedules.PolynomialDecay(rate, decay_steps)",
    "SequentialLR": "chainrule.schedules.Join(schedules, boundaries)",
    **dict.fromkeys(
        ("StepLR", "MultiStepLR", "ExponentialLR", "LambdaLR", "LRScheduler"),
        "chainrule.schedules, which count steps: StepDecay, ExponentialDecay",
    ),
    **dict.fromkeys(("load_model", "from_file"), "chainrule.load(path)"),
    **dict.fromkeys(
        (
            "MSE",
            "MSELoss",
            "MeanSquaredError",
            "MAE",
            "L1Loss",
            "MeanAbsoluteError",
            "HuberLoss",
        ),
        f"{_LOSSES}: SquaredError(), AbsoluteError(), Huber()",
    ),
    **dict.fromkeys(
        ("BCELoss", "BCEWithLogitsLoss", "BinaryCrossentropy"),
        f"{_LOSSES}.BinaryCrossEntropy(), which takes logits",
    ),
    **dict.fromkeys(
        ("CrossEntropyLoss", "NLLLoss", "CategoricalCrossentropy"),
        f"{_LOSSES}.CrossEntropy(), which takes logits",
    ),
    **dict.fromkeys(
        ("Conv1d", "Conv2d", "Conv1D", "Conv2D", "LSTM", "GRU", "Embedding"),
        "another library: chainrule has no such layer",
    ),
}


# Methods of others' models -> what to do.
METHODS: dict[str, str] = {
    "compile": "hand loss=, optimizer= and metrics= to Model(...)",
    "train": "call fit; predict never drops out",
    "eval": "call predict, which never drops out, or evaluate(x, y)",
    "forward": "call predict(x)",
    "call": "call predict(x)",
    "score": "call evaluate(x, y)",
    "test_on_batch": "call evaluate(x, y)",
    "train_on_batch": "call fit(x, y, epochs=1)",
    "partial_fit": "call fit(x, y, epochs=1), which goes on from where it stands",
    "fit_generator": "call fit(x, y, epochs=1) with each chunk of the data",
    "predict_classes": "call predict_proba(x).argmax(-1)",
    "predict_on_batch": "call predict(x)",
    "state_dict": "call get_weights(), or read .parameters",
    "load_state_dict": "call set_weights(weights)",
    "save_weights": "call save(path)",
    "load_weights": "call chainrule.load(path)",
    "load": "call chainrule.load(path)",
    "add": "make the network first: chainrule.Sequential(...)",
    "layers": "read .network.layers",
    "weights": "read .parameters, or call get_weights()",
    "lr": "read or set .learning_rate",
    "zero_grad": "call fit, which keeps no gradients",
    "backward": "call fit, or jacobian and hessian for derivatives",
}

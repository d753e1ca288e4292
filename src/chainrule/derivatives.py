"""Derivatives of a network: by inputs and by parameters, of first and second order.

Each ``build_...(backend, network)`` returns a pure function of arrays, ready for
`Backend.compile`. All are of the network in inference. Forward and second derivatives
run the rules on dual arrays; there is no second copy of any. The formulas are derived
in docs/derivatives.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from chainrule import _checks
from chainrule._typing import Shape
from chainrule.context import Context
from chainrule.dual import DualNamespace
from chainrule.errors import ArgumentError, ShapeError
from chainrule.inference import CHUNK, build_function
from chainrule.network import Network

__all__ = [
    "build_hessian",
    "build_hvp",
    "build_jacobian",
    "build_jvp",
    "build_parameter_curve",
    "build_parameter_jacobian",
    "build_sample_gradients",
    "build_vjp",
    "forward_is_cheaper",
]

# Numbers of one intermediate array, at most: 64 MB in float64.
LIMIT = 1 << 23


def chunk(backend: Any, each: int, least: int) -> int:
    """Rows to work on at a time where each asks for so many numbers: a power of two.

    Enough for the backend's `block`, but `least` where memory allows it, since products
    of few rows are slow.
    """
    rows: int = min(max(backend.block // each, least), LIMIT // each, CHUNK)
    return 1 << max(0, rows.bit_length() - 1)


def forward_is_cheaper(network: Network) -> bool:
    """Whether a Jacobian costs less by tangents of inputs than by gradients of outputs.

    A direction costs as many multiplications as there are parameters. The first weight
    costs nothing in forward mode, since its product with the identity is the same for
    all samples; in reverse mode the last one is met by the identity, and not saved.
    """
    n, m = math.prod(network.input_shape), math.prod(network.output_shape)
    first = network.entries[0].stop if network.entries else 0
    return n * (network.size - first) <= m * network.size


def run(network: Network, theta: Any, state: Any, x: Any, xp: Any) -> Any:
    """Return ``(z, pullback)`` of the network in inference, in any namespace."""
    pieces = network.unflatten_state(state, xp) if network.state_size else ()
    context = Context(xp, state=pieces)
    return network.forward(network.unflatten(theta, xp), x, context)


def run_dual(
    network: Network, theta: Any, state: Any, x: Any, u: Any, xp: DualNamespace
) -> Any:
    """Return ``(z, pullback)`` on dual arrays, x moving along u."""
    return run(network, xp.dual(theta), xp.dual(state), xp.dual(x, u), xp)


def _identity(shape: Shape, dtype: Any, xp: Any) -> Any:
    """Return the directions of a sample's entries: (size, 1, *shape)."""
    size = math.prod(shape)
    return xp.reshape(xp.eye(size, dtype=dtype), (size, 1, *shape))


def _tangent(a: Any, lead: Shape, xp: DualNamespace) -> Any:
    """Return a's tangent behind `lead`, also where it is zero."""
    return xp.base.broadcast_to(xp.parts(a)[1], (*lead, *a.shape))


def build_jacobian(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> ∂Z/∂X`` of shape (batch, *out, *in)."""
    xp = backend.xp
    inside, out = network.input_shape, network.output_shape
    dual = DualNamespace(xp)

    def forward(theta: Any, state: Any, x: Any) -> Any:
        eye = _identity(inside, x.dtype, xp)
        z, _ = run_dual(network, theta, state, x, eye, dual)
        columns = _tangent(z, eye.shape[:1], dual)
        shape = (x.shape[0], *out, *inside)
        return xp.reshape(xp.moveaxis(columns, 0, -1), shape)

    def reverse(theta: Any, state: Any, x: Any) -> Any:
        z, pullback = run(network, theta, state, x, xp)
        # A leading axis on dz, fed with the identity: one cotangent per output.
        eye = _identity(out, z.dtype, xp)
        rows, _ = pullback(xp.broadcast_to(eye, (*eye.shape[:1], *z.shape)), dp=False)
        return xp.reshape(xp.moveaxis(rows, 0, 1), (x.shape[0], *out, *inside))

    return forward if forward_is_cheaper(network) else reverse


def build_vjp(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, v) -> vᵀ ∂Z/∂X``, sample by sample, of x's shape."""
    xp = backend.xp

    def vjp(theta: Any, state: Any, x: Any, v: Any) -> Any:
        _, pullback = run(network, theta, state, x, xp)
        return pullback(v, dp=False)[0]

    return vjp


def build_jvp(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, u) -> ∂Z/∂X u``, sample by sample, of Z's shape."""
    dual = DualNamespace(backend.xp)

    def jvp(theta: Any, state: Any, x: Any, u: Any) -> Any:
        z, _ = run_dual(network, theta, state, x, u, dual)
        return _tangent(z, (), dual)

    return jvp


def build_hvp(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, u) -> H u``, sample by sample, of x's shape.

    The derivative along u of the gradient of the sum of a sample's outputs.
    """
    xp = backend.xp
    dual = DualNamespace(xp)

    def hvp(theta: Any, state: Any, x: Any, u: Any) -> Any:
        z, pullback = run_dual(network, theta, state, x, u, dual)
        dx, _ = pullback(dual.ones_like(z), dp=False)
        return _tangent(dx, u.shape[: u.ndim - x.ndim], dual)

    return hvp


def build_hessian(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> H`` of shape (batch, *in, *in)."""
    xp = backend.xp
    inside = network.input_shape
    hvp = build_hvp(backend, network)

    def hessian(theta: Any, state: Any, x: Any) -> Any:
        columns = hvp(theta, state, x, _identity(inside, x.dtype, xp))
        columns = xp.moveaxis(columns, 0, -1)
        return xp.reshape(columns, (x.shape[0], *inside, *inside))

    return hessian


def build_sample_gradients(backend: Any, network: Network, loss: Any) -> Any:
    """Return ``f(theta, state, x, t) -> G`` of shape (batch, P).

    Row i is the gradient of the loss of sample i, as a batch of its own.
    """
    xp = backend.xp

    def sample_gradients(theta: Any, state: Any, x: Any, t: Any) -> Any:
        # Leading axes are never summed: the batch moves there, and rows are one.
        x, t = x[:, None, ...], t[:, None, ...]
        z, pullback = run(network, theta, state, x, xp)
        _, loss_pullback = loss(z, t, None, network.output_shape, xp=xp)
        _, dparams = pullback(loss_pullback()[0], dx=False)
        return network.flatten(dparams, xp)

    return sample_gradients


def build_parameter_jacobian(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x) -> ∂Z/∂θ`` of shape (batch, m, P).

    m counts the entries of an output, row-major; frozen parameters have zeros.
    """
    xp = backend.xp
    out = network.output_shape

    def parameter_jacobian(theta: Any, state: Any, x: Any) -> Any:
        # Every sample is a batch of one, behind an axis for the outputs.
        z, pullback = run(network, theta, state, x[:, None, None, ...], xp)
        eye = _identity(out, z.dtype, xp)
        _, dparams = pullback(xp.broadcast_to(eye, (x.shape[0], *eye.shape)), dx=False)
        return network.flatten(dparams, xp)

    return parameter_jacobian


def build_parameter_curve(backend: Any, network: Network) -> Any:
    """Return ``f(theta, state, x, direction) -> (ż, z̈)``, each of Z's shape.

    The first and second derivative of Z(θ + s·direction) by s at s = 0, direction (P,):
    the network runs on dual arrays of dual arrays.
    """
    inner = DualNamespace(backend.xp)
    outer = DualNamespace(inner)

    def curve(theta: Any, state: Any, x: Any, direction: Any) -> Any:
        moving = outer.dual(inner.dual(theta, direction), inner.dual(direction))
        state, x = outer.dual(inner.dual(state)), outer.dual(inner.dual(x))
        z, _ = run(network, moving, state, x, outer)
        return inner.parts(outer.parts(z)[1])

    return curve


@_checks.methods_told
class Derivatives:
    """What `Model` offers of these: arrays as `predict` takes and gives them.

    All are exact, not differences, and of the network in inference: dropout does
    nothing, batch norm uses its running statistics. At a kink the derivative is the one
    that training uses (relu's is 0 at 0), and between kinks second derivatives are what
    they are: relu's is 0, so the Hessian of a relu network is 0 almost everywhere.

    Of an ensemble they are those of the mean output, which are the means of its members'.
    """

    if TYPE_CHECKING:
        backend: Any
        dtype: str
        precision: str
        members: int | None

        _weights: Any

        def _scope(self) -> Any: ...
        def _need(self) -> Network: ...
        def _apply(self, x: Any, build: Any, *key: Any, **options: Any) -> Any: ...
        def _apply_data(self, x: Any, y: Any, build: Any, *, rows: int) -> Any: ...

    def _rows(self, directions: int) -> int:
        each = directions * self._need().widest
        return chunk(self.backend, each, 512 // directions)

    def _derived(self, x: Any, build: Any, **options: Any) -> Any:
        """Apply; of an ensemble, to each member, and return the mean."""
        if self.members is None:
            return self._apply(x, build, **options)
        total: Any = 0.0
        theta, state = self._weights  # those of one epoch, should a fit go on meanwhile
        for k in range(self.members):
            with self._scope():
                weights = theta[k, :], state[k, :]

            def finish(z: Any, _: Any, total: Any = total) -> Any:
                return total + z / self.members

            total = self._apply(x, build, finish=finish, weights=weights, **options)
        return total

    def _alone(self, name: str) -> None:
        if self.members is not None:
            msg = (
                f"{name} is of the parameters of one network; this is an ensemble. Ask "
                f"model.member(k).{name} for each k."
            )
            raise ArgumentError(msg)

    def function(self) -> Any:
        """Return the network in inference as a pure function of your own library.

        It can be traced, compiled and differentiated there, by all its arguments and as
        often as you like: ``jax.grad``, ``jit`` and ``vmap`` on JAX, autograd and
        ``torch.func`` on PyTorch. It has no parameters of its own; the model's are in
        `theta` and `state`, copies, as they are now.

        Returns
        -------
        function
            ``f(theta, state, x) -> z``, arrays of the backend's library: theta (P,),
            state (S,), x (batch, *sample_shape), z (batch, *output_shape). With axes
            before P, of members, theta (members, P) and state (members, S) give
            z (members, batch, *output_shape): those of an ensemble have one. A network
            without state, which is one without batch norm, takes None for it.

        Raises
        ------
        ShapeError, ArgumentTypeError
            By the function, for arrays of another shape or library.

        Notes
        -----
        Nothing else is checked: what is not finite goes in and comes out. Other dtypes
        become the model's. Products have the model's precision, whatever the program
        around it has set; PyTorch's own pass back has the program's. On JAX a float64
        model needs JAX's 64 bits where the function is called. At a kink the derivative
        is that library's own: JAX's of relu is 1/2 at 0.
        """
        network = self._need()
        return build_function(self.backend, network, self.dtype, self.precision)

    def jacobian(self, x: Any) -> Any:
        """Return ∂Z/∂X of each sample.

        In forward mode (one tangent per input) or in reverse mode (one gradient per
        output), whichever is cheaper for this network.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (batch, *output_shape, *sample_shape)
            (batch, m, n) for vectors.
        """
        network = self._need()
        shapes = (network.input_shape, network.output_shape)
        n, m = (max(1, math.prod(shape)) for shape in shapes)
        rows = self._rows(n if forward_is_cheaper(network) else m)
        return self._derived(x, build_jacobian, rows=rows)

    def vjp(self, x: Any, v: Any) -> Any:
        """Return vᵀ ∂Z/∂X of each sample: one pass back, without the Jacobian.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)
        v : array, shape (batch, *output_shape)

        Returns
        -------
        array, shape (batch, *sample_shape)

        Raises
        ------
        ShapeError, ArgumentError
            If v has another shape, or is not finite.
        """
        return self._derived(x, build_vjp, v=(v, self._need().output_shape))

    def jvp(self, x: Any, u: Any) -> Any:
        """Return ∂Z/∂X u of each sample: one pass on dual arrays.

        Parameters
        ----------
        x, u : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (batch, *output_shape)

        Raises
        ------
        ShapeError, ArgumentError
            If u has another shape, or is not finite.
        """
        return self._derived(x, build_jvp, u=(u, self._need().input_shape))

    def hessian(self, x: Any) -> Any:
        """Return ∂²Z/∂X² of each sample, for a network of one output.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (batch, *sample_shape, *sample_shape)
            (batch, n, n) for vectors; symmetric to rounding.

        Raises
        ------
        ShapeError
            If the network has more than one output.
        """
        network = self._scalar("hessian")
        rows = self._rows(max(1, math.prod(network.input_shape)))
        return self._derived(x, build_hessian, rows=rows)

    def hvp(self, x: Any, u: Any) -> Any:
        """Return ∂²Z/∂X² u of each sample, without the Hessian.

        Parameters
        ----------
        x, u : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (batch, *sample_shape)

        Raises
        ------
        ShapeError, ArgumentError
            If the network has more than one output, if u has another shape, or is not
            finite.
        """
        network = self._scalar("hvp")
        return self._derived(x, build_hvp, u=(u, network.input_shape))

    def sample_gradients(self, x: Any, y: Any) -> Any:
        """Return the gradient of each sample's own loss by the parameters.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)
        y : array
            As `Model.fit` takes it.

        Returns
        -------
        array, shape (batch, P)
            Row i is the gradient of the loss of sample i as a batch of its own, without
            a weight. Frozen parameters have zeros. The mean of the rows is the gradient
            of the batch's loss (where the loss has no class weights).
        """
        self._alone("sample_gradients")
        rows = chunk(self.backend, max(1, self._need().size), 64)
        return self._apply_data(x, y, build_sample_gradients, rows=rows)

    def parameter_jacobian(self, x: Any) -> Any:
        """Return ∂Z/∂θ of each sample.

        Parameters
        ----------
        x : array, shape (batch, *sample_shape)

        Returns
        -------
        array, shape (batch, m, P)
            m counts the entries of an output, row-major. Frozen parameters have zeros.
            Apart from this array the memory is bounded: rows are worked on in chunks.
        """
        network = self._need()
        self._alone("parameter_jacobian")
        each = network.size * math.prod(network.output_shape)
        rows = chunk(self.backend, max(1, each), 64)
        return self._apply(x, build_parameter_jacobian, rows=rows)

    def _scalar(self, name: str) -> Network:
        network = self._need()
        if math.prod(network.output_shape) != 1:
            msg = (
                f"{name} needs a network of one output; this one's output has the shape "
                f"{network.output_shape}. Ask a model whose last layer has 1 unit."
            )
            raise ShapeError(msg)
        return network

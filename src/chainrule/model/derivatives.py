"""What `Model` offers of derivatives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

from chainrule.config.explain import explain_methods
from chainrule.derivatives.cost import chunk, forward_is_cheaper
from chainrule.derivatives.inputs import (
    build_hessian,
    build_hvp,
    build_jacobian,
    build_jvp,
    build_vjp,
)
from chainrule.derivatives.parameters import (
    build_parameter_jacobian,
    build_sample_gradients,
)
from chainrule.errors import ArgumentError, ShapeError
from chainrule.model.predictor import Predictor
from chainrule.network import Network
from chainrule.network.forward import build_function

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.arrays.types import ArrayT

__all__ = ["Derivatives"]


@explain_methods
class Derivatives(Predictor):
    """What `Model` offers of these: arrays as `predict` takes and gives them.

    All are exact, not differences, and of the network in inference: dropout does
    nothing, batch norm uses its running statistics. At a kink the derivative is the one
    that training uses (relu's is 0 at 0), and between kinks second derivatives are what
    they are: relu's is 0, so the Hessian of a relu network is 0 almost everywhere.

    Of an ensemble they are those of the mean output, which are the means of its
    members'.
    """

    def _rows(self, directions: int) -> int:
        each = directions * self._need().widest
        return chunk(self.backend, each, 512 // directions)

    def _derived(self, x: Any, build: Any, **options: Any) -> Any:
        """Apply; of an ensemble, to each member, and return the mean."""
        if self._need().input_dtype is not None:
            msg = (
                "there are no derivatives by x: the network's first layer takes "
                "indices. Those by the parameters are sample_gradients and "
                "parameter_jacobian."
            )
            raise ArgumentError(msg)
        if self.spec.members is None:
            return self._apply(x, build, **options)
        total: Any = 0.0
        with self._scope():
            theta, state = self._weights()  # of one epoch, should a fit go on meanwhile
        for k in range(self.spec.members):
            with self._scope():
                weights = theta[k, :], state[k, :]

            def finish(z: Any, _: Any, total: Any = total) -> Any:
                return total + z / self.spec.members

            total = self._apply(x, build, finish=finish, weights=weights, **options)
        return total

    def _alone(self, name: str) -> None:
        if self.spec.members is not None:
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
        `theta` and `state`, copies, as they are now. What it returns is the network's
        own output: no loss's link, no mean of a distribution.

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
        return build_function(
            self.backend, network, self.spec.dtype, self.spec.precision
        )

    @overload
    def jacobian(self, x: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def jacobian(self, x: ArrayT) -> ArrayT: ...
    @overload
    def jacobian(self, x: Any) -> NDArray[Any]: ...
    def jacobian(self, x: Any) -> Any:
        """Return ∂Z/∂X of each sample.

        Z is what the network gives, also where the loss is one of a whole distribution:
        of gaussian_nll and student_t the first m outputs are the m means.

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

    @overload
    def vjp(self, x: NDArray[Any], v: Any) -> NDArray[Any]: ...
    @overload
    def vjp(self, x: ArrayT, v: Any) -> ArrayT: ...
    @overload
    def vjp(self, x: Any, v: Any) -> NDArray[Any]: ...
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

    @overload
    def jvp(self, x: NDArray[Any], u: Any) -> NDArray[Any]: ...
    @overload
    def jvp(self, x: ArrayT, u: Any) -> ArrayT: ...
    @overload
    def jvp(self, x: Any, u: Any) -> NDArray[Any]: ...
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

    @overload
    def hessian(self, x: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def hessian(self, x: ArrayT) -> ArrayT: ...
    @overload
    def hessian(self, x: Any) -> NDArray[Any]: ...
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

    @overload
    def hvp(self, x: NDArray[Any], u: Any) -> NDArray[Any]: ...
    @overload
    def hvp(self, x: ArrayT, u: Any) -> ArrayT: ...
    @overload
    def hvp(self, x: Any, u: Any) -> NDArray[Any]: ...
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

    @overload
    def sample_gradients(self, x: NDArray[Any], y: Any) -> NDArray[Any]: ...
    @overload
    def sample_gradients(self, x: ArrayT, y: Any) -> ArrayT: ...
    @overload
    def sample_gradients(self, x: Any, y: Any) -> NDArray[Any]: ...
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

    @overload
    def parameter_jacobian(self, x: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def parameter_jacobian(self, x: ArrayT) -> ArrayT: ...
    @overload
    def parameter_jacobian(self, x: Any) -> NDArray[Any]: ...
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
                f"{name} needs a network of one output; this one's output has the "
                f"shape {network.output_shape}. Ask a model whose last layer has 1 "
                "unit."
            )
            raise ShapeError(msg)
        return network

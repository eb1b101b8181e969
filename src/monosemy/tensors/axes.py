"""The one vocabulary of axes, as used in every signature.

====================  ====================================================================
axis                  meaning
====================  ====================================================================
``token``             one position of one context, after the positions left out are dropped
``context``           one packed window of text
``position``          a place inside a context, from 0
``width``             numbers in an activation vector at a site (d)
``written``           numbers that a dictionary writes, where it writes another place than it reads
``latent``            entries of a dictionary (m)
``active``            non-zero entries of a sparse code, over all its tokens
``bearer``            a latent that has children
``child``             of one bearer, counted from 0
``chart``             a subspace that bearers share
``rank``              dimensions of a chart
``sample``            of several of the same bearer
``document``          one source document
``feature``           what a world is made of: the known truth that latents are compared with
``node``              a feature of a world, or a gate that fires and writes nothing
``block``             samples that are counted together, and drawn together for intervals
``pair``              two things that belong together: a latent and a feature, a parent and a child
``vocabulary``        token ids of a model
``pool``              axes that are normalised by one common energy
``word``              entry of a list of word vectors
``question``          a is to b as c is to what
``point``             one row of any cloud of vectors, whatever they stand for
``condition``         one combination of the values of labelled variables
``variable``          something that samples are labelled with: position, class
``stimulus``          what a simulated unit answers to, ``trial`` after trial
``instance``          one of several toy models that are trained together
``hidden``            numbers in which a toy model keeps its features (m)
====================  ====================================================================

Shapes are written with jaxtyping: ``Float[Tensor, "token width"]``. They are checked while
testing and cost nothing while running.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Activations = Float[Tensor, "token width"]
Written = Float[Tensor, "token written"]
Latents = Float[Tensor, "token latent"]

__all__ = ["Activations", "Bool", "Float", "Int", "Latents", "Tensor", "Written"]

"""A saved model of skxc for MLflow: what it runs to load the model and to answer.

``mlflow.pyfunc.log_model(python_model="examples/mlflow/skxc_model.py", ...)`` keeps this file as
it is: nothing is pickled.
"""

import mlflow

import skxc


class SkxcModel(mlflow.pyfunc.PythonModel):
    """Texts in, the names of their best labels out."""

    def load_context(self, context):
        """Open the folder that `save` wrote."""
        self.clf = skxc.load(context.artifacts["model"])

    def predict(self, context, model_input: list[str]) -> list[list[str]]:
        """The best labels of each text, best first."""
        labels = self.clf.predict_labels(model_input)
        return [[str(label) for label in row] for row in labels]


mlflow.models.set_model(SkxcModel())

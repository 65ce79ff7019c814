# One image for every command: `api`, `worker`, `migrate`, `audit`, `stripe-sandbox`. docs/deployment.md says how it is run.

FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.13.8
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/paysaga
WORKDIR /src
# What others wrote, in a layer of its own: it changes with the lock file alone.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --no-install-project
# What we wrote, as .dockerignore lets it through. Neither the embedded servers nor what only developers need.
COPY . .
RUN uv sync --frozen --no-default-groups --no-editable

FROM python:3.13-slim
# A user that owns nothing but the folder in which the Stripe sandbox keeps its state.
RUN useradd --system --no-create-home --uid 10001 paysaga && install -d -o 10001 -g 10001 /var/lib/paysaga
COPY --from=build /opt/paysaga /opt/paysaga
ENV PATH=/opt/paysaga/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/paysaga
EXPOSE 8000
ENTRYPOINT ["paysaga"]
CMD ["--help"]

//! The routes, with the data that they need, and what happens to each request before it reaches one.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Request, Response, Route, get, http::Method};
use service::telemetry::metrics::Metrics;

use super::error::{PageError, ServeError};
use crate::{
    auth::guard::{Admitted, Guard},
    batches::Batches,
    given_up::GivenUp,
    http::{
        AllowedOrigins, console::Console, cors::CrossOrigin, docs, event_stream::EventStreamSlots,
        fallback, observe::observed, problem::ProblemKind, route_table::RouteTable,
        samples::SamplePictures, security_headers,
    },
    operations::Operations,
    routes::{
        deepstack::DeepStackMode, health::ApiHealth, huggingface, index::Index, open_inference,
        openapi, roboflow,
    },
    tasks::Tasks,
    upload::UploadRules,
};

/// Who may use the routes.
pub(super) struct AccessRules {
    pub(super) guard: Guard,
    pub(super) origins: Arc<AllowedOrigins>,
    pub(super) served: ServedApis,
}

/// Which routes of other servers are served.
#[derive(Clone, Copy)]
pub(super) struct ServedApis {
    pub(super) deepstack: DeepStackMode,
    pub(super) huggingface: bool,
    pub(super) roboflow: bool,
    pub(super) open_inference: bool,
}

impl ServedApis {
    /// The response to a request for a route that is turned off, in the words of its server.
    fn turned_off(self, method: &Method, path: &str) -> Option<Response> {
        let no_route = |text: &str| fallback::error(path, ProblemKind::NoRoute, text.to_owned());
        if self.deepstack.turns_off(path) {
            return Some(no_route(DeepStackMode::OFF));
        }
        if !self.huggingface && huggingface::is_route(method, path) {
            return Some(no_route(huggingface::OFF));
        }
        if !self.open_inference && open_inference::is_route(path) {
            return Some(no_route(open_inference::OFF));
        }
        let is_roboflow_off = !self.roboflow && roboflow::is_route(path);
        is_roboflow_off.then(roboflow::turned_off)
    }
}

/// What the routes work with.
pub(super) struct RouteData {
    pub(super) tasks: Tasks,
    pub(super) batches: Batches,
    pub(super) upload_rules: UploadRules,
    pub(super) streams: EventStreamSlots,
    pub(super) health: ApiHealth,
    pub(super) metrics: Metrics,
    pub(super) operations: Operations,
    pub(super) given_up: GivenUp,
}

/// The routes with the data that they need, observed.
pub(super) fn app(
    data: RouteData,
    access: AccessRules,
) -> Result<impl Endpoint<Output = Response> + use<>, ServeError> {
    let document = openapi::parsed()?;
    let table = Arc::new(RouteTable::of(&document));
    let meter = data.metrics.meter();
    let (guard, deepstack) = (access.guard.clone(), access.served.deepstack);
    // On the heap: on the stack, each layer around them would have room for their state as well. In debug builds a request
    // needed nearly the two megabytes that a test's thread has.
    let routes = routes(Arc::clone(&table), openapi::text(&document)?, access)?.boxed();
    let routes = routes
        .data(data.tasks)
        .data(data.batches)
        .data(data.upload_rules)
        .data(data.streams)
        .data(data.health)
        .data(data.metrics)
        .data(data.operations)
        .data(data.given_up)
        .data(guard)
        .data(deepstack)
        .data(Arc::new(Index::of(&document)));
    Ok(observed(routes, table, meter))
}

fn routes(
    table: Arc<RouteTable>,
    document: String,
    access: AccessRules,
) -> Result<impl Endpoint<Output = Response>, PageError> {
    let AccessRules { guard, origins, served } = access;
    let service = openapi::service();
    let docs = docs::endpoint(&service.swagger_ui_html())?;
    let document = docs::document(document);
    let console = Console::new()?;
    let routes = Route::new()
        .nest("/docs", docs)
        .at("/openapi.json", get(document))
        .nest("/assets", console.files())
        .nest("/samples", SamplePictures::installed().endpoint())
        .nest("/", console.in_front_of(service));
    Ok(routes.around(move |endpoint, request| {
        let (endpoint, table, guard) = (Arc::clone(&endpoint), Arc::clone(&table), guard.clone());
        let cross_origin = CrossOrigin::of(&request, &origins);
        async move {
            let path = request.uri().path().to_owned();
            let options = match *request.method() {
                Method::OPTIONS => fallback::options(&path, &table),
                _ => None,
            };
            let answer = match served.turned_off(request.method(), &path).or(options) {
                Some(answer) => answer,
                None => match guard.admit(&request).await {
                    Err(refusal) => refusal.answer(&path),
                    Ok(admitted) => serve_admitted(&endpoint, request, admitted, &table).await,
                },
            };
            Ok(cross_origin.allow(security_headers::protect(answer)))
        }
    }))
}

/// The response to a request that may be served.
async fn serve_admitted(
    routes: &impl Endpoint<Output = Response>,
    mut request: Request,
    admitted: Admitted,
    table: &RouteTable,
) -> Response {
    let path = request.uri().path().to_owned();
    let Admitted { caller, limit } = admitted;
    request.extensions_mut().insert(caller);
    let answer = match fallback::unknown_parameter(&request, table) {
        Some(problem) => Ok(problem),
        None => routes.call(request).await,
    };
    let mut answer = answer.unwrap_or_else(|error| fallback::answer(error, &path, table));
    if let Some(limit) = limit {
        limit.write(answer.headers_mut());
    }
    answer
}

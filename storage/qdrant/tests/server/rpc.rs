//! Fills in a gRPC service: the calls that are named are answered by functions,
//! the others are refused as unimplemented.

/// `answered` are methods of the implementing type that take the request's message
/// and give the response's, or a status.
macro_rules! service {
    (
        $service:path, $server:ty;
        answered { $($answered:ident($request:ty) -> $response:ty = $function:ident;)* }
        refused { $($refused:ident($other_request:ty) -> $other_response:ty;)* }
    ) => {
        impl $service for $server {
            $(
                fn $answered<'life, 'future>(
                    &'life self,
                    request: tonic::Request<$request>,
                ) -> std::pin::Pin<Box<
                    dyn Future<Output = Result<tonic::Response<$response>, tonic::Status>>
                        + Send
                        + 'future,
                >>
                where
                    'life: 'future,
                    Self: 'future,
                {
                    let answer = self.$function(request.into_inner());
                    Box::pin(async { answer.map(tonic::Response::new) })
                }
            )*
            $(
                fn $refused<'life, 'future>(
                    &'life self,
                    _: tonic::Request<$other_request>,
                ) -> std::pin::Pin<Box<
                    dyn Future<Output = Result<tonic::Response<$other_response>, tonic::Status>>
                        + Send
                        + 'future,
                >>
                where
                    'life: 'future,
                    Self: 'future,
                {
                    Box::pin(async { Err(tonic::Status::unimplemented(stringify!($refused))) })
                }
            )*
        }
    };
}

pub(crate) use service;

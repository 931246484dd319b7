resource "aws_security_group" "database" {
  name_prefix = "${var.name}-database-"
  description = "Nodes to RDS"
  vpc_id      = module.vpc.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "Pods, whom the network policies choose"
  referenced_security_group_id = module.eks.node_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_parameter_group" "database" {
  name_prefix = "${var.name}-"
  family      = "postgres17"
  description = "The box office of Vestibule"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # 12 pods with 32 connections each, and hands.
  parameter {
    name         = "max_connections"
    value        = "450"
    apply_method = "pending-reboot"
  }

  # A client that vanished holds no lock of a hot row for long.
  parameter {
    name  = "idle_in_transaction_session_timeout"
    value = "10000"
  }

  parameter {
    name  = "tcp_keepalives_idle"
    value = "10"
  }

  parameter {
    name  = "log_lock_waits"
    value = "1"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "database" {
  identifier = var.name
  db_name    = local.database.dbname
  username   = local.database.username

  password_wo         = jsondecode(ephemeral.aws_secretsmanager_secret_version.database.secret_string).password
  password_wo_version = var.passwords_version

  engine                     = "postgres"
  engine_version             = "17"
  auto_minor_version_upgrade = true
  instance_class             = var.database_instance_class
  parameter_group_name       = aws_db_parameter_group.database.name

  storage_type          = "gp3"
  allocated_storage     = var.database_storage_gb
  max_allocated_storage = var.database_storage_gb * 4
  storage_encrypted     = true

  # A standby that has every commit before it is answered: no order is lost when it takes over.
  multi_az               = true
  db_subnet_group_name   = module.vpc.database_subnet_group_name
  vpc_security_group_ids = [aws_security_group.database.id]
  publicly_accessible    = false

  backup_retention_period   = 14
  backup_window             = "02:00-02:45"
  maintenance_window        = "tue:03:00-tue:04:00"
  copy_tags_to_snapshot     = true
  deletion_protection       = true
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final"

  performance_insights_enabled    = true
  enabled_cloudwatch_logs_exports = ["postgresql"]
}
